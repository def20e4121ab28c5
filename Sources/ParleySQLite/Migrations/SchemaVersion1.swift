/// Times are microseconds since 1970 (UTC). Tables are STRICT, so a column holds what it says.
enum SchemaVersion1 {
    static let statements = Self.common + Self.transport + Self.outboxAndInbox + Self.sagas

    private static let common = [
        """
        CREATE TABLE parley_migration (
            name TEXT NOT NULL PRIMARY KEY,
            sql TEXT NOT NULL,
            applied_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        // Leases with an epoch: who relays the outbox.
        """
        CREATE TABLE parley_lease (
            name TEXT NOT NULL PRIMARY KEY,
            owner TEXT,
            epoch INTEGER NOT NULL,
            renewed_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ]

    private static let transport = [
        """
        CREATE TABLE parley_group (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            bindings TEXT NOT NULL,
            maximum_deliveries INTEGER NOT NULL,
            lease_us INTEGER NOT NULL
        ) STRICT
        """,
        // Rises with every declaration, so that each process knows when its list of groups is old.
        "CREATE TABLE parley_groups_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL) STRICT",
        "INSERT INTO parley_groups_version VALUES (1, 1)",
        // AUTOINCREMENT: a position is never used again, also when the newest message is gone.
        """
        CREATE TABLE parley_message (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            source TEXT NOT NULL,
            type TEXT NOT NULL,
            subject TEXT,
            time INTEGER NOT NULL,
            content_type TEXT,
            topic TEXT NOT NULL,
            key TEXT,
            headers TEXT NOT NULL,
            published_at INTEGER NOT NULL,
            data BLOB NOT NULL
        ) STRICT
        """,
        // is_head: no earlier message of the group has this key. due_at: 0 when ready. owner: a row of parley_owner.
        """
        CREATE TABLE parley_delivery (
            seq INTEGER NOT NULL,
            grp INTEGER NOT NULL,
            key TEXT,
            is_head INTEGER NOT NULL,
            due_at INTEGER NOT NULL DEFAULT 0,
            attempts INTEGER NOT NULL DEFAULT 0,
            token INTEGER NOT NULL DEFAULT 0,
            owner INTEGER,
            PRIMARY KEY (seq, grp)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE INDEX parley_delivery_ready ON parley_delivery (grp, seq)
        WHERE is_head = 1 AND owner IS NULL AND due_at = 0
        """,
        "CREATE INDEX parley_delivery_delayed ON parley_delivery (grp, due_at) WHERE owner IS NULL AND due_at > 0",
        "CREATE INDEX parley_delivery_key ON parley_delivery (grp, key, seq) WHERE key IS NOT NULL",
        "CREATE INDEX parley_delivery_owner ON parley_delivery (owner) WHERE owner IS NOT NULL",
        """
        CREATE TABLE parley_owner (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            grp INTEGER NOT NULL,
            renewed_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX parley_owner_group ON parley_owner (grp)",
        """
        CREATE TABLE parley_dead_letter (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            seq INTEGER NOT NULL,
            grp INTEGER NOT NULL,
            reason TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            died_at INTEGER NOT NULL
        ) STRICT
        """,
        "CREATE INDEX parley_dead_letter_seq ON parley_dead_letter (seq)",
        "CREATE INDEX parley_dead_letter_group ON parley_dead_letter (grp, id)",
    ]

    private static let outboxAndInbox = [
        // next_try: 0 unless the last try has failed.
        """
        CREATE TABLE parley_outbox (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL,
            source TEXT NOT NULL,
            type TEXT NOT NULL,
            subject TEXT,
            time INTEGER NOT NULL,
            content_type TEXT,
            topic TEXT NOT NULL,
            key TEXT,
            headers TEXT NOT NULL,
            appended_at INTEGER NOT NULL,
            failures INTEGER NOT NULL DEFAULT 0,
            next_try INTEGER NOT NULL DEFAULT 0,
            last_error TEXT,
            data BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX parley_outbox_failed ON parley_outbox (key, seq) WHERE next_try > 0",
        "CREATE INDEX parley_outbox_next_try ON parley_outbox (next_try) WHERE next_try > 0",
        """
        CREATE TABLE parley_inbox (
            consumer TEXT NOT NULL,
            message TEXT NOT NULL,
            admitted_at INTEGER NOT NULL,
            PRIMARY KEY (consumer, message)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX parley_inbox_age ON parley_inbox (consumer, admitted_at)",
    ]

    private static let sagas = [
        """
        CREATE TABLE parley_saga_definition (
            fingerprint TEXT NOT NULL PRIMARY KEY,
            json TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE parley_saga (
            id TEXT NOT NULL PRIMARY KEY,
            type TEXT NOT NULL,
            business_key TEXT NOT NULL,
            definition TEXT NOT NULL,
            state TEXT NOT NULL,
            status TEXT NOT NULL,
            version INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            owner TEXT,
            attempt INTEGER NOT NULL,
            is_uncertain INTEGER NOT NULL,
            entered_at INTEGER NOT NULL,
            due_at INTEGER,
            input TEXT NOT NULL,
            effects TEXT NOT NULL,
            reason TEXT,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            UNIQUE (type, business_key)
        ) STRICT
        """,
        """
        CREATE INDEX parley_saga_due ON parley_saga (due_at)
        WHERE owner IS NULL AND due_at IS NOT NULL AND status IN ('running', 'stuck')
        """,
        """
        CREATE INDEX parley_saga_owned ON parley_saga (owner)
        WHERE owner IS NOT NULL AND status IN ('running', 'stuck')
        """,
        "CREATE INDEX parley_saga_status ON parley_saga (status, created_at)",
        "CREATE INDEX parley_saga_age ON parley_saga (created_at)",
        """
        CREATE TABLE parley_saga_event (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            saga TEXT NOT NULL,
            version INTEGER NOT NULL,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            state TEXT NOT NULL,
            next_state TEXT NOT NULL,
            action TEXT,
            attempt INTEGER NOT NULL,
            detail TEXT
        ) STRICT
        """,
        "CREATE INDEX parley_saga_event_saga ON parley_saga_event (saga)",
        """
        CREATE TABLE parley_saga_worker (
            owner TEXT NOT NULL PRIMARY KEY,
            renewed_at INTEGER NOT NULL,
            expires_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
    ]
}
