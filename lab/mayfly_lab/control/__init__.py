# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane: moto's EC2, IAM, STS, KMS and SSM, with everything that moto only pretends made real.

One process, one lock: moto is not written for threads. What takes time (booting, shutting down) happens in threads of
`lifecycle`, outside the lock.
"""
