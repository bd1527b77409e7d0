"""Made-up streets, written as CityScapes is: nothing to download, everything known."""
