# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's report for people and for other programs, made from ``report.json`` alone."""
