// swift-tools-version: 6.2
// A package of its own, built with libFuzzer's instrumentation. `dev/fuzz` builds and runs it.
import PackageDescription

let package = Package(
    name: "parley-fuzzing",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "parley", path: "..")],
    targets: [
        .executableTarget(
            name: "dns-fuzz",
            dependencies: [
                .product(name: "ParleyCore", package: "parley"),
                .product(name: "ParleyDiscovery", package: "parley"),
                .product(name: "ParleyRegistry", package: "parley"),
            ],
            swiftSettings: [
                .swiftLanguageMode(.v6), .enableUpcomingFeature("MemberImportVisibility"),
                // libFuzzer brings main().
                .unsafeFlags(["-parse-as-library"]),
            ]
        )
    ]
)
