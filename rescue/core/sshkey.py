"""The form of an SSH public key, as a recipe and a stick may name those who log in.

Options in front of a key ("command=", "environment=") belong to a person who edits sshd's own file.
"""

from __future__ import annotations

import re

PUBLIC_KEY = re.compile(
    r"(sk-)?(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)? "
    r"[A-Za-z0-9+/]{40,4000}={0,3}( [^\x00-\x1f\x7f]{0,200})?"
)
"""Type, key, and a comment: a line of a .pub file."""
