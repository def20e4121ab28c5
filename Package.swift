// swift-tools-version: 6.2
// The tower: a target imports only lower floors. `dev/check-floors` reads this manifest and refuses the rest.
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .treatAllWarnings(as: .error),
]

func product(_ name: String, _ package: String) -> Target.Dependency { .product(name: name, package: package) }

let package = Package(
    name: "parley",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "ParleyCore", targets: ["ParleyCore"]),
        .library(name: "ParleyResilience", targets: ["ParleyResilience"]),
        .library(name: "ParleyDiscovery", targets: ["ParleyDiscovery"]),
        .library(name: "ParleyMessaging", targets: ["ParleyMessaging"]),
        .library(name: "ParleyRESP", targets: ["ParleyRESP"]),
        .library(name: "ParleyAMQP", targets: ["ParleyAMQP"]),
        .library(name: "ParleyEventStore", targets: ["ParleyEventStore"]),
        .library(name: "ParleySagas", targets: ["ParleySagas"]),
        .library(name: "ParleySQLite", targets: ["ParleySQLite"]),
        .library(name: "ParleyRabbitMQ", targets: ["ParleyRabbitMQ"]),
        .library(name: "ParleyRedis", targets: ["ParleyRedis"]),
        .library(name: "ParleyHTTPClient", targets: ["ParleyHTTPClient"]),
        .library(name: "ParleyHTTPServer", targets: ["ParleyHTTPServer"]),
        .library(name: "ParleyGRPC", targets: ["ParleyGRPC"]),
        .library(name: "ParleyGateway", targets: ["ParleyGateway"]),
        .library(name: "ParleyRegistry", targets: ["ParleyRegistry"]),
        .library(name: "ParleyConsul", targets: ["ParleyConsul"]),
        .library(name: "ParleyTestKit", targets: ["ParleyTestKit"]),
        .library(name: "ParleyOps", targets: ["ParleyOps"]),
        .executable(name: "parley", targets: ["parley"]),
        .executable(name: "order-system", targets: ["order-system"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-service-context", from: "1.5.1"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
        .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
        .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    ],
    targets: [
        // Floor 0: ground
        .systemLibrary(
            name: "CPCRE2",
            pkgConfig: "libpcre2-8",
            providers: [.apt(["libpcre2-dev"]), .brew(["pcre2"])]
        ),
        .systemLibrary(name: "CCrypt", providers: [.apt(["libcrypt-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
        .target(
            name: "ParleyCore",
            dependencies: [product("ServiceContextModule", "swift-service-context")],
            swiftSettings: settings
        ),

        // Floor 1: engines
        .target(
            name: "ParleyDiscovery",
            dependencies: ["ParleyCore", product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio")],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyResilience",
            dependencies: ["ParleyCore", product("DequeModule", "swift-collections")],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyMessaging",
            dependencies: [
                "ParleyCore", product("Logging", "swift-log"), product("ServiceLifecycle", "swift-service-lifecycle"),
                product("DequeModule", "swift-collections"), product("HeapModule", "swift-collections"),
                product("OrderedCollections", "swift-collections"),
                product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyEventStore",
            dependencies: ["ParleyCore"],
            swiftSettings: settings
        ),

        .target(
            name: "ParleyAMQP",
            dependencies: [
                "ParleyCore", product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"),
                product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"), product("DequeModule", "swift-collections"),
                product("OrderedCollections", "swift-collections"), product("CoreMetrics", "swift-metrics"),
                product("Tracing", "swift-distributed-tracing"),
                product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyRESP",
            dependencies: [
                "ParleyCore", product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"),
                product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"), product("DequeModule", "swift-collections"),
            ],
            swiftSettings: settings
        ),

        // Floor 2: shared
        .target(
            name: "ParleySagas",
            dependencies: [
                "ParleyCore", "ParleyMessaging", product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),

        // Floor 3: edges and backends
        .target(
            name: "ParleySQLite",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyEventStore", "ParleySagas", product("GRDB", "GRDB.swift"),
                product("GRDBSQLite", "GRDB.swift"),
                product("Logging", "swift-log"), product("ServiceLifecycle", "swift-service-lifecycle"),
                product("DequeModule", "swift-collections"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyRabbitMQ",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyAMQP", product("AsyncHTTPClient", "async-http-client"),
                product("Crypto", "swift-crypto"), product("NIOCore", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOPosix", "swift-nio"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyRedis",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyEventStore", "ParleySagas", "ParleyRESP",
                product("Logging", "swift-log"), product("CoreMetrics", "swift-metrics"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyHTTPClient",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyResilience", product("AsyncHTTPClient", "async-http-client"),
                product("HTTPTypes", "swift-http-types"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("NIOPosix", "swift-nio"), product("Logging", "swift-log"),
                product("Tracing", "swift-distributed-tracing"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyHTTPServer",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", product("Hummingbird", "hummingbird"),
                product("HummingbirdCore", "hummingbird"), product("HTTPTypes", "swift-http-types"),
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOHTTPTypes", "swift-nio-extras"), product("Crypto", "swift-crypto"),
                product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyGRPC",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyResilience", product("GRPCCore", "grpc-swift-2"),
                product("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"),
                product("GRPCProtobuf", "grpc-swift-protobuf"), product("SwiftProtobuf", "swift-protobuf"),
                product("NIOCore", "swift-nio"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            exclude: ["Protos"],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyGateway",
            dependencies: [
                "CPCRE2", "ParleyCore", "ParleyDiscovery", "ParleyHTTPServer", "ParleyHTTPClient",
                product("Hummingbird", "hummingbird"), product("HummingbirdCore", "hummingbird"),
                product("HTTPTypes", "swift-http-types"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOSSL", "swift-nio-ssl"),
                product("NIOTLS", "swift-nio"), product("DequeModule", "swift-collections"),
                product("HeapModule", "swift-collections"), "ParleyRESP", "CCrypt", "CZlib",
                product("Crypto", "swift-crypto"), product("JWTKit", "jwt-kit"),
                product("AsyncHTTPClient", "async-http-client"),
                product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings,
            linkerSettings: [.linkedLibrary("crypt", .when(platforms: [.linux]))]
        ),
        .target(
            name: "ParleyRegistry",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleySQLite", "ParleyHTTPServer",
                product("HummingbirdCore", "hummingbird"), product("HTTPTypes", "swift-http-types"),
                product("AsyncHTTPClient", "async-http-client"), product("HeapModule", "swift-collections"),
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOHTTP2", "swift-nio-http2"), product("NIOHPACK", "swift-nio-http2"),
                product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyConsul",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", product("AsyncHTTPClient", "async-http-client"),
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ParleyTestKit",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyEventStore", "ParleySagas", product("Logging", "swift-log"),
            ],
            swiftSettings: settings
        ),

        // Floor 4: operations
        .target(
            name: "ParleyOps",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleySagas", "ParleyAMQP", "ParleySQLite", "ParleyRabbitMQ",
                "ParleyRESP", "ParleyRedis", "ParleyGateway", product("Yams", "Yams"),
                product("AsyncHTTPClient", "async-http-client"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("Logging", "swift-log"),
            ],
            swiftSettings: settings
        ),

        // Floor 5: applications
        .executableTarget(
            name: "parley",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyMessaging", "ParleyRabbitMQ", "ParleyRegistry", "ParleyConsul",
                "ParleyGateway", "ParleyHTTPServer", "ParleyOps",
                product("ArgumentParser", "swift-argument-parser"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("UnixSignals", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "order-system",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyMessaging", "ParleySagas", "ParleySQLite", "ParleyAMQP",
                "ParleyRESP", "ParleyRabbitMQ", "ParleyRedis", "ParleyHTTPClient", "ParleyHTTPServer", "ParleyGateway",
                "ParleyGRPC", "ParleyResilience", "ParleyConsul", "ParleyRegistry", "ParleyOps",
                product("GRPCCore", "grpc-swift-2"),
                product("GRPCProtobuf", "grpc-swift-protobuf"), product("SwiftProtobuf", "swift-protobuf"),
                product("ArgumentParser", "swift-argument-parser"), product("Hummingbird", "hummingbird"),
                product("Logging", "swift-log"), product("ServiceLifecycle", "swift-service-lifecycle"),
                product("HTTPTypes", "swift-http-types"), product("NIOCore", "swift-nio"),
                product("UnixSignals", "swift-service-lifecycle"), product("X509", "swift-certificates"),
                product("SwiftASN1", "swift-asn1"), product("Crypto", "swift-crypto"),
            ],
            path: "Examples/OrderSystem",
            exclude: ["Protos", "README.md"],
            swiftSettings: settings
        ),

        // A real broker for the tests of whatever works on one
        .target(
            name: "ProcessTestSupport",
            dependencies: ["ParleyCore"],
            path: "Tests/ProcessTestSupport",
            swiftSettings: settings
        ),
        .target(
            name: "RabbitMQTestSupport",
            dependencies: ["ParleyCore", "ProcessTestSupport"],
            path: "Tests/RabbitMQTestSupport",
            swiftSettings: settings
        ),
        .target(
            name: "RedisTestSupport",
            dependencies: [
                "ParleyCore", "ParleyRESP", "ProcessTestSupport", product("NIOCore", "swift-nio"),
                product("NIOPosix", "swift-nio"),
                product("Logging", "swift-log"),
            ],
            path: "Tests/RedisTestSupport",
            swiftSettings: settings
        ),

        // Tests of discovery and HTTP
        .target(
            name: "HTTPTestSupport",
            dependencies: [
                "ParleyCore", product("AsyncHTTPClient", "async-http-client"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("NIOPosix", "swift-nio"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            path: "Tests/HTTPTestSupport",
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleySQLiteTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyEventStore", "ParleySagas", "ParleySQLite", "ParleyTestKit",
                "ProcessTestSupport", product("GRDB", "GRDB.swift"),
                product("Logging", "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyCoreTests",
            dependencies: [
                "ParleyCore", "ParleyTestKit", product("ServiceContextModule", "swift-service-context"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyAMQPTests",
            dependencies: [
                "ParleyCore", "ParleyAMQP", "ProcessTestSupport", product("NIOCore", "swift-nio"),
                product("NIOPosix", "swift-nio"),
                product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("OrderedCollections", "swift-collections"), product("CoreMetrics", "swift-metrics"),
                product("MetricsTestKit", "swift-metrics"), product("Tracing", "swift-distributed-tracing"),
                product("InMemoryTracing", "swift-distributed-tracing"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyMessagingTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyTestKit", product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("ServiceLifecycleTestKit", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyRabbitMQTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyAMQP", "ParleyRabbitMQ", "ParleyTestKit", "HTTPTestSupport",
                "RabbitMQTestSupport", "ProcessTestSupport", product("NIOCore", "swift-nio"),
                product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyOpsTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleySagas", "ParleySQLite", "ParleyRabbitMQ", "ParleyGateway",
                "ParleyOps",
                "ParleyTestKit", "RabbitMQTestSupport", product("Logging", "swift-log"),
            ],
            swiftSettings: settings
        ),
        // The command, black box: built, run as a process on a real broker.
        .testTarget(
            name: "parleyTests",
            dependencies: [
                "parley", "ParleyCore", "ParleyMessaging", "ParleyAMQP", "ParleySQLite", "ParleyRabbitMQ",
                "ParleyRESP", "ParleyRedis", "ParleySagas", "RedisTestSupport", "RabbitMQTestSupport",
                "ProcessTestSupport", product("Logging", "swift-log"),
            ],
            exclude: ["Peer"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyRESPTests",
            dependencies: [
                "ParleyCore", "ParleyRESP", "RedisTestSupport", "ProcessTestSupport", product("NIOCore", "swift-nio"),
                product("NIOPosix", "swift-nio"),
                product("NIOEmbedded", "swift-nio"), product("NIOSSL", "swift-nio-ssl"),
                product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyRedisTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleyEventStore", "ParleySagas", "ParleyRESP", "ParleyRedis",
                "ParleySQLite", "ParleyTestKit", "RedisTestSupport", "ProcessTestSupport",
                product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyEventStoreTests",
            dependencies: ["ParleyCore", "ParleyEventStore", "ParleyTestKit"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleySagasTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleySagas", "ParleyTestKit", product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyTestKitTests",
            dependencies: ["ParleyCore", "ParleyMessaging", "ParleySagas", "ParleyTestKit"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyResilienceTests",
            dependencies: ["ParleyCore", "ParleyResilience", "ParleyTestKit"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyDiscoveryTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyTestKit", product("NIOCore", "swift-nio"),
                product("NIOPosix", "swift-nio"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyConsulTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyConsul", "ParleyRegistry", "ParleyTestKit", "HTTPTestSupport",
                "ProcessTestSupport", product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("NIOSSL", "swift-nio-ssl"), product("Logging", "swift-log"),
                product("InMemoryLogging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyHTTPClientTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyResilience", "ParleyHTTPClient", "ParleyHTTPServer",
                "HTTPTestSupport",
                product("AsyncHTTPClient", "async-http-client"), product("Hummingbird", "hummingbird"),
                product("HTTPTypes", "swift-http-types"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("Logging", "swift-log"),
                product("Tracing", "swift-distributed-tracing"),
                product("InMemoryTracing", "swift-distributed-tracing"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyHTTPServerTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyHTTPServer", "HTTPTestSupport",
                product("AsyncHTTPClient", "async-http-client"), product("Hummingbird", "hummingbird"),
                product("HTTPTypes", "swift-http-types"), product("NIOCore", "swift-nio"),
                product("NIOHTTP1", "swift-nio"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyGRPCTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyResilience", "ParleyGRPC", "HTTPTestSupport",
                "ProcessTestSupport", product("GRPCCore", "grpc-swift-2"),
                product("GRPCNIOTransportHTTP2Posix", "grpc-swift-nio-transport"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            exclude: ["Peer"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ParleyGatewayTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyHTTPServer", "ParleyHTTPClient", "ParleyGateway",
                "ParleyRESP", "HTTPTestSupport", "ProcessTestSupport", "RedisTestSupport", "CZlib",
                product("AsyncHTTPClient", "async-http-client"),
                product("Hummingbird", "hummingbird"), product("HTTPTypes", "swift-http-types"),
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOEmbedded", "swift-nio"), product("NIOSSL", "swift-nio-ssl"), product("NIOTLS", "swift-nio"),
                product("NIOHPACK", "swift-nio-http2"), product("Crypto", "swift-crypto"),
                product("JWTKit", "jwt-kit"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            exclude: ["Routing/Facts"],
            swiftSettings: settings
        ),

        .testTarget(
            name: "ParleyRegistryTests",
            dependencies: [
                "ParleyCore", "ParleyDiscovery", "ParleyHTTPServer", "ParleySQLite", "ParleyRegistry", "ParleyTestKit",
                "HTTPTestSupport", "ProcessTestSupport", product("AsyncHTTPClient", "async-http-client"),
                product("NIOCore", "swift-nio"), product("NIOPosix", "swift-nio"), product("NIOHTTP1", "swift-nio"),
                product("NIOEmbedded", "swift-nio"),
                product("NIOHTTP2", "swift-nio-http2"), product("NIOHPACK", "swift-nio-http2"),
                product("NIOEmbedded", "swift-nio"), product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
            ],
            exclude: ["Fixtures"],
            swiftSettings: settings
        ),

        // The example, black box: it is built, run as a process and driven over HTTP.
        .testTarget(
            name: "OrderSystemTests",
            dependencies: [
                "order-system", "parley", "ParleyMessaging", "ParleySQLite", "RabbitMQTestSupport",
                "RedisTestSupport", "ProcessTestSupport",
                product("AsyncHTTPClient", "async-http-client"), product("Logging", "swift-log"),
                product("NIOSSL", "swift-nio-ssl"),
                product("NIOCore", "swift-nio"), product("NIOHTTP1", "swift-nio"),
            ],
            swiftSettings: settings
        ),
        // The gateway beside the real nginx, black box: the same configurations and requests to both.
        .testTarget(
            name: "GatewayDifferentialTests",
            dependencies: ["parley", "ParleyCore", "ProcessTestSupport"],
            swiftSettings: settings
        ),
        // The gateway as a process while everything around it breaks: instances, clients, disks, configurations.
        .testTarget(
            name: "GatewayChaosTests",
            dependencies: ["parley", "ParleyCore", "ProcessTestSupport"],
            swiftSettings: settings
        ),
        // The README's example, compiled and run.
        .testTarget(
            name: "DocumentationTests",
            dependencies: [
                "ParleyCore", "ParleyMessaging", "ParleySQLite", product("Logging", "swift-log"),
                product("ServiceLifecycle", "swift-service-lifecycle"),
                product("UnixSignals", "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
    ]
)
