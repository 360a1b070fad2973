"""Pictures and pages for people; must not know how a number was made or where files go."""
