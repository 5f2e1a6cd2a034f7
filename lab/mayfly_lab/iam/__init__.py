# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM enforced on request: what a request must be allowed to do, who asks, and what the policies say to it.

`checks` has the words; `ec2`, `launches`, `ebs`, `s3`, `kms`, `sts` and `named` turn requests into checks and are pure;
`identities` and `callers` know whose policies count; `engine` asks the process that evaluates them; `guard` is what a
service of the lab calls before it answers.
"""
