import Testing

/// What only a process of its own can show when everything around it breaks. One after the other: each loads two cores.
@Suite(.serialized, .timeLimit(.minutes(3))) struct ChaosTests {}
