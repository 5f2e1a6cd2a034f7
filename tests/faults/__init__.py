# SPDX-License-Identifier: GPL-3.0-or-later
"""The campaign of faults: operations that are killed or hurt at every moment, and what is left of them."""
