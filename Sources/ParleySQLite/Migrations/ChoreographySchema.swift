/// The tables of watched choreographies.
enum ChoreographySchema {
    static let statements = [
        """
        CREATE TABLE parley_choreography_definition (
            fingerprint TEXT NOT NULL PRIMARY KEY,
            json TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE parley_choreography (
            type TEXT NOT NULL,
            id TEXT NOT NULL,
            business_key TEXT NOT NULL,
            definition TEXT NOT NULL,
            status TEXT NOT NULL,
            reason TEXT,
            due_at INTEGER,
            dropped INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            PRIMARY KEY (type, id)
        ) STRICT
        """,
        "CREATE INDEX parley_choreography_due ON parley_choreography (due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX parley_choreography_status ON parley_choreography (status, created_at)",
        "CREATE INDEX parley_choreography_age ON parley_choreography (created_at)",
        "CREATE INDEX parley_choreography_key ON parley_choreography (business_key)",
        "CREATE INDEX parley_choreography_id ON parley_choreography (id)",
        """
        CREATE INDEX parley_choreography_ended ON parley_choreography (updated_at)
        WHERE status IN ('completed', 'failed')
        """,
        """
        CREATE TABLE parley_choreography_event (
            choreography TEXT NOT NULL,
            instance TEXT NOT NULL,
            id TEXT NOT NULL,
            source TEXT NOT NULL,
            type TEXT NOT NULL,
            subject TEXT,
            time INTEGER NOT NULL,
            content_type TEXT,
            topic TEXT NOT NULL,
            key TEXT,
            headers TEXT NOT NULL,
            observed_at INTEGER NOT NULL,
            arrival INTEGER NOT NULL,
            copies INTEGER NOT NULL,
            causation TEXT,
            replay_of TEXT,
            injected_by TEXT,
            data BLOB NOT NULL,
            PRIMARY KEY (choreography, instance, id)
        ) STRICT
        """,
        """
        CREATE TABLE parley_choreography_intervention (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            choreography TEXT NOT NULL,
            instance TEXT NOT NULL,
            kind TEXT NOT NULL,
            at INTEGER NOT NULL,
            by TEXT NOT NULL,
            because TEXT NOT NULL,
            events TEXT NOT NULL,
            messages TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE INDEX parley_choreography_intervention_instance
        ON parley_choreography_intervention (choreography, instance)
        """,
    ]
}
