# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a worker goes, and why: pure functions from settings and a picture of the account to ordered candidates.

Nothing here calls AWS. Trouble with accounts, networks and instance types is found here, before anything is launched,
and the error names the setting that would mend it. ``place.place`` is the way in.
"""
