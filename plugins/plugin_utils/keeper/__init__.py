# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper: the process of a run that talks to AWS and outlives the playbook.

Nothing in this package imports Ansible: the keeper starts in a fraction of a second, and task forks that only call it
(``client.call``) do not load boto3.
"""
