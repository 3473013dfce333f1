"""Faces: the gateways that the sandbox can play, see :mod:`veo_provider.sandbox.faces.face`."""
