// swift-tools-version: 6.2
// A package of its own, built with libFuzzer's instrumentation. `dev/fuzz` builds and runs it.
import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6), .enableUpcomingFeature("MemberImportVisibility"),
    // libFuzzer brings main().
    .unsafeFlags(["-parse-as-library"]),
]

let package = Package(
    name: "parley-fuzzing",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "parley", path: ".."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .executableTarget(
            name: "dns-fuzz",
            dependencies: [
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyDiscovery", package: "parley"),
                .product(name: "ParleyRegistry", package: "parley"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "gateway-fuzz",
            dependencies: [
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyGateway", package: "parley"),
                .product(name: "ParleyHTTPClient", package: "parley"),
                .product(name: "ParleyOps", package: "parley"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
    ]
)
