import Foundation
import ParleyCore
import Testing

@testable import ParleyGateway

private let shape = MetricsShape(
    routes: [.init(server: "api", route: "/a"), .init(server: "api", route: "= /b\"\\\n")],
    upstreams: ["users"],
    zones: ["z"]
)

@Suite struct GatewayMetricsTests {
    @Test func shardsAddUp() {
        var shards = [MetricsShard(shape), MetricsShard(shape)]
        for index in shards.indices {
            // In another order on each loop: instances are known by name.
            let names = index == 0 ? ["a:1", "b:2"] : ["b:2", "a:1"]
            let numbers = names.map { shards[index].instance($0, of: 0) }
            shards[index].attemptEnded(upstream: 0, instance: numbers[0], hasFailed: index == 0, isRetry: false)
            shards[index].attemptEnded(upstream: 0, instance: numbers[1], hasFailed: false, isRetry: true)
            shards[index].requestEnded(route: 0, status: 200, microseconds: 1_000, bytesIn: 1, bytesOut: 2)
            shards[index].requestEnded(route: 0, status: 502, microseconds: 9_000, bytesIn: -1, bytesOut: 2)
            shards[index].requestEnded(route: 9, status: 200, microseconds: 1, bytesIn: 0, bytesOut: 0)
            shards[index].zones[0].rejected += 1
            shards[index].connections.accepted += 3
            shards[index].upstreams[0].connectionsIdle = 2
        }
        let sum = GatewayMetrics.merge(shards)
        #expect(sum.routes[0].requests["2xx"] == 2)
        #expect(sum.routes[0].requests["5xx"] == 2)
        #expect(sum.routes[0].bytesIn == 2)
        #expect(sum.routes[0].duration.count == 4)
        #expect(sum.routes[0].duration.sumMicroseconds == 20_000)
        #expect(sum.routes[1].duration.count == 0)
        #expect(sum.upstreams[0].instances.map(\.name) == ["a:1", "b:2"])
        #expect(sum.upstreams[0].instances.map(\.attempts) == [2, 2])
        #expect(sum.upstreams[0].instances.map(\.failures) == [1, 0])
        #expect(sum.upstreams[0].instances.map(\.retries) == [1, 1])
        #expect(sum.upstreams[0].connectionsIdle == 4)
        #expect(sum.zones[0].rejected == 2)
        #expect(sum.connections.accepted == 6)
    }

    @Test func countersGoOnAfterAReload() throws {
        var old = MetricsShard(shape)
        let number = old.instance("a:1", of: 0)
        old.attemptEnded(upstream: 0, instance: number, hasFailed: true, isRetry: false)
        old.requestEnded(route: 0, status: 200, microseconds: 5, bytesIn: 0, bytesOut: 0)
        old.zones[0].passed = 7
        old.connections.accepted = 3
        let other = MetricsShape(
            routes: [.init(server: "new", route: "/"), .init(server: "api", route: "/a")],
            upstreams: ["new", "users"],
            zones: ["z"]
        )
        let sum = GatewayMetrics.merge([MetricsShard(other, continuing: old)])
        #expect(sum.routes.map { $0.requests["2xx"] } == [0, 1])
        #expect(sum.upstreams[1].instances.map(\.failures) == [1])
        #expect(sum.zones[0].passed == 7)
        #expect(sum.connections.accepted == 3)
    }

    @Test func instancesAreBounded() {
        var shard = MetricsShard(shape)
        for number in 0..<(MetricsShard.maxInstances + 10) { _ = shard.instance("i\(number)", of: 0) }
        #expect(shard.instanceNames[0].count == MetricsShard.maxInstances + 1)
        #expect(shard.instanceNames[0].last == MetricsShard.restName)
        #expect(shard.instance("i2000", of: 0) == MetricsShard.maxInstances)
        #expect(shard.instance("x", of: 5) == -1)
        shard.attemptEnded(upstream: 5, instance: -1, hasFailed: true, isRetry: true)
    }

    @Test func bucketsCoverEveryDurationOnce() {
        var last = 0
        for value in 0...100_000 as ClosedRange<Int64> {
            let index = DurationBuckets.index(value)
            #expect(index == last || index == last + 1)
            last = index
            #expect(value <= DurationBuckets.upperBound(index))
            if index > 0 { #expect(value > DurationBuckets.upperBound(index - 1)) }
        }
        #expect(DurationBuckets.index(.max) == DurationBuckets.count - 1)
        #expect(DurationBuckets.index(.min) == 0)
        for bound in PrometheusText.bounds {
            #expect((0..<DurationBuckets.count).contains { DurationBuckets.upperBound($0) == bound })
        }
    }

    @Test func quantilesAreNearTheTruth() throws {
        let random = SeededRandomSource(seed: 5)
        var histogram = DurationHistogram()
        #expect(histogram.quantile(0.5) == nil)
        var values: [Int64] = []
        for _ in 0..<5_000 {
            let value = Int64(random.next() % 1_000_000) + 1
            values.append(value)
            histogram.record(value)
        }
        values.sort()
        for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
            let index = max(0, Int((Double(values.count) * share).rounded(.up)) - 1)
            let found = try #require(histogram.quantile(share))
            #expect(found >= values[index])
            #expect(Double(found) <= Double(values[index]) * 1.25 + 1)
        }
    }
}

/// The rules of the exposition format 0.0.4.
@Suite struct PrometheusTextTests {
    @Test func theTextFollowsTheRules() throws {
        var shard = MetricsShard(shape)
        _ = shard.instance("a:1", of: 0)
        let random = SeededRandomSource(seed: 6)
        for _ in 0..<500 {
            shard.requestEnded(
                route: Int(random.next() % 2),
                status: 200,
                microseconds: Int64(random.next() % 200_000_000),
                bytesIn: 1,
                bytesOut: 1
            )
        }
        var snapshot = GatewayMetrics.merge([shard])
        snapshot.upstreams[0].instances[0].isAvailable = false
        let text = PrometheusText.write(snapshot)
        #expect(text.hasSuffix("\n"))
        var kinds: [String: Substring] = [:]
        var family = ""
        var buckets: [String: [UInt64]] = [:]
        var counts: [String: UInt64] = [:]
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            if line.hasPrefix("# HELP ") { continue }
            if line.hasPrefix("# TYPE ") {
                let words = line.split(separator: " ")
                family = String(words[2])
                #expect(kinds[family] == nil, "a family stands once")
                kinds[family] = words[3]
                continue
            }
            let space = try #require(line.lastIndex(of: " "))
            let value = line[line.index(after: space)...]
            #expect(Double(value) != nil, "\(line)")
            let series = line[..<space]
            let name = series.prefix { $0 != "{" }
            #expect(name.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" })
            #expect(name.hasPrefix(family), "samples follow their family: \(line)")
            if kinds[family] == "counter" { #expect(name.hasSuffix("_total")) }
            if name.hasSuffix("_bucket") {
                let labels = series.prefix(upTo: try #require(series.firstRange(of: ",le=")).lowerBound)
                buckets[String(labels), default: []].append(try #require(UInt64(value)))
                if series.contains("le=\"+Inf\"") { counts[String(labels)] = UInt64(value) }
            }
        }
        #expect(buckets.count == 2)
        for (labels, values) in buckets {
            #expect(values == values.sorted(), "buckets are cumulative")
            #expect(values.last == counts[labels])
            let count = labels.replacingOccurrences(of: "_bucket", with: "_count") + "} \(values.last ?? 0)\n"
            #expect(text.contains(count))
        }
        #expect(text.contains(#"route="= /b\"\\\n""#))
        #expect(text.contains(#"parley_gateway_upstream_instance_available{upstream="users",instance="a:1"} 0"#))
        #expect(text.contains(#"le="0.000128""#))
    }

    @Test func secondsAreExact() {
        #expect(
            [0, 1, 1_000_000, 1_500_000, 67_108_864].map { PrometheusText.seconds($0) } == [
                "0", "0.000001", "1", "1.5", "67.108864",
            ]
        )
    }

    @Test func aSnapshotIsJSON() throws {
        let snapshot = GatewayMetrics.merge([MetricsShard(shape)])
        let data = try JSONEncoder().encode(snapshot)
        #expect(try JSONDecoder().decode(GatewayMetrics.Snapshot.self, from: data) == snapshot)
    }
}
