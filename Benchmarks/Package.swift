// swift-tools-version: 6.2
// A package of its own, so that nobody who uses Parley builds its benchmarks. `dev/bench` runs them.
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
    name: "parley-benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "parley", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    ],
    targets: [
        .executableTarget(
            name: "parley-bench",
            dependencies: [
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyMessaging", package: "parley"),
                .product(name: "ParleySagas", package: "parley"),
                .product(name: "ParleySQLite", package: "parley"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: settings
        ),
        .target(name: "PeerBench", swiftSettings: settings),
        // Beside it stand the peers in `peers/`, in C and Python; `dev/bench amqp` builds and runs all three.
        .executableTarget(
            name: "amqp-bench",
            dependencies: [
                "PeerBench",
                .product(name: "ParleyAMQP", package: "parley"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
        // Beside redis-benchmark and redis-py; `dev/bench redis`.
        .executableTarget(
            name: "redis-bench",
            dependencies: [
                "PeerBench",
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyMessaging", package: "parley"),
                .product(name: "ParleyRESP", package: "parley"),
                .product(name: "ParleyRedis", package: "parley"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // The registry in a process of its own; `dev/bench registry`.
        .executableTarget(
            name: "registry-bench",
            dependencies: [
                "PeerBench",
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyRegistry", package: "parley"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
        // Beside the HTTP client that it is made with; `dev/bench resilience`.
        .executableTarget(
            name: "resilience-bench",
            dependencies: [
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyDiscovery", package: "parley"),
                .product(name: "ParleyResilience", package: "parley"),
                .product(name: "ParleyHTTPClient", package: "parley"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings
        ),
    ]
)
