"""How people sign in: password, second factor, passkey, company SSO, invitation."""
