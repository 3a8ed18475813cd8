"""The admin API: routes read and changed over HTTP, with an admin key."""
