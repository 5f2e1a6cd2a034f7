# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of ``group_vars``: one schema, checked and converted once, before anything is launched."""
