"""The only modules that import a platform's library; each client is made per use, never global."""
