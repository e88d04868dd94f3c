"""What is run inside a sandbox that has to hold: each module is sent as text, and needs the standard library alone.

Each public function is an attack. It returns what it met and judges nothing.
"""
