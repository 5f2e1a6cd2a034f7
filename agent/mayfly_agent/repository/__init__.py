# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's format: docs/repository-format.md says it in full, this package reads and writes it."""
