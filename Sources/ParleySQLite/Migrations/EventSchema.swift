/// Events.
enum EventSchema {
    static let statements = [
        // AUTOINCREMENT: a position is never used again, also when the newest event has been deleted by hand. One that
        // was rolled back is, because the counter is rolled back as well: so there are no gaps.
        """
        CREATE TABLE parley_event (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            stream TEXT NOT NULL,
            version INTEGER NOT NULL,
            id TEXT NOT NULL,
            type TEXT NOT NULL,
            data BLOB NOT NULL,
            metadata TEXT NOT NULL,
            recorded_at INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE UNIQUE INDEX parley_event_version ON parley_event (stream, version)",
        "CREATE UNIQUE INDEX parley_event_id ON parley_event (stream, id)",
    ]
}
