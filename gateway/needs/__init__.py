"""What residents said of their needs: sealed, kept for a while, destroyed; the daemon alone opens it."""
