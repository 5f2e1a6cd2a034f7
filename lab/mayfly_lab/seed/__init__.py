# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab is filled with to try things on: networks, roles, a bucket, and two instances with data."""
