# SPDX-License-Identifier: GPL-3.0-or-later
"""An embedded AWS in which hosts, disks and networks are real."""
