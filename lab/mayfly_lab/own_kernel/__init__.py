# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's second machine image: Debian under User-Mode Linux, a kernel of its own for what the machine's cannot do.

An instance boots it because its root volume has it, as on AWS: the volume's label tells.
"""
