# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a file recovery: an ASGI application that shows mounted volumes and lets files be taken out of them.

It runs on a worker as ``mayfly-browser serve``, without rights beyond reading, and knows nothing of AWS. What it shows
it is told by a description (description.py); what it tells others is in its state folder (life.py, requests.log).
"""
