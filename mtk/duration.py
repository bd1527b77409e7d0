"""A length of time in words."""


def in_words(seconds: float) -> str:
    """Returns minutes and seconds, such as `1:05`, with the hours before them if there are any.

    Of 100 hours or more, days.
    """
    if seconds >= 100 * 3600:
        return f"{seconds / 86400:,.0f} days"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
