"""What a batcher says of itself: `statistics` always, `events` to observers if there are any."""
