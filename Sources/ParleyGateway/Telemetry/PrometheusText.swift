/// A snapshot in Prometheus' text format, version 0.0.4.
package struct PrometheusText {
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// Microseconds; each is the bound of a bucket of ``DurationBuckets``, so the sums are exact.
    package static let bounds: [Int64] = (7...26).map { Int64(1) << Int64($0) }

    private enum Kind: String { case counter, gauge, histogram }

    private var text = ""

    package static func write(_ snapshot: GatewayMetrics.Snapshot) -> String {
        var writer = PrometheusText()
        writer.routes(snapshot.routes)
        writer.upstreams(snapshot.upstreams)
        writer.zones(snapshot.zones)
        writer.connections(snapshot.connections)
        writer.single(
            "parley_gateway_access_log_lines_total",
            .counter,
            "Lines written to access logs.",
            snapshot.accessLog.writtenLines
        )
        writer.single(
            "parley_gateway_access_log_dropped_lines_total",
            .counter,
            "Lines that were not written: the queue or the disk was full.",
            snapshot.accessLog.droppedLines
        )
        writer.single(
            "parley_gateway_records_total",
            .counter,
            "Requests that have a record for explain.",
            snapshot.recordsMade
        )
        return writer.text
    }

    // MARK: - Families

    private mutating func routes(_ routes: [GatewayMetrics.Route]) {
        self.family("parley_gateway_requests_total", .counter, "Requests by location and class of status.")
        for route in routes {
            for (status, count) in route.requests.sorted(by: { $0.key < $1.key }) {
                self.sample(
                    "parley_gateway_requests_total",
                    Self.labels(route) + [("status", status)],
                    "\(count)"
                )
            }
        }
        self.family("parley_gateway_request_bytes_total", .counter, "Bytes that came from clients.")
        for route in routes {
            self.sample("parley_gateway_request_bytes_total", Self.labels(route), "\(route.bytesIn)")
        }
        self.family("parley_gateway_response_bytes_total", .counter, "Bytes that went to clients.")
        for route in routes {
            self.sample("parley_gateway_response_bytes_total", Self.labels(route), "\(route.bytesOut)")
        }
        let name = "parley_gateway_request_duration_seconds"
        self.family(name, .histogram, "From the head of the request to the end of the answer.")
        for route in routes {
            let labels = Self.labels(route)
            for (bound, count) in zip(Self.bounds, route.duration.cumulative) {
                self.sample(name + "_bucket", labels + [("le", Self.seconds(UInt64(bound)))], "\(count)")
            }
            self.sample(name + "_bucket", labels + [("le", "+Inf")], "\(route.duration.count)")
            self.sample(name + "_sum", labels, Self.seconds(route.duration.sumMicroseconds))
            self.sample(name + "_count", labels, "\(route.duration.count)")
        }
    }

    private mutating func upstreams(_ upstreams: [GatewayMetrics.Upstream]) {
        self.instances(upstreams, "attempts_total", .counter, "Requests sent to the instance.") { "\($0.attempts)" }
        self.instances(upstreams, "failures_total", .counter, "Attempts that failed.") { "\($0.failures)" }
        self.instances(upstreams, "retries_total", .counter, "Attempts that were not the first.") { "\($0.retries)" }
        self.instances(upstreams, "instance_available", .gauge, "1 when the instance may be picked.") { instance in
            instance.isAvailable.map { $0 ? "1" : "0" }
        }
        self.instances(upstreams, "instance_active_requests", .gauge, "Requests under way.") { instance in
            instance.activeRequests.map { "\($0)" }
        }
        self.pools(upstreams, "connections_created_total", .counter, "Connections opened.") {
            "\($0.connectionsCreated)"
        }
        self.pools(upstreams, "connections_closed_total", .counter, "Connections closed.") { "\($0.connectionsClosed)" }
        self.pools(upstreams, "connections_active", .gauge, "Connections with a request.") { "\($0.connectionsActive)" }
        self.pools(upstreams, "connections_idle", .gauge, "Connections kept.") { "\($0.connectionsIdle)" }
        self.pools(upstreams, "requests_reused_total", .counter, "Requests on a kept connection.") {
            "\($0.requestsReused)"
        }
        self.pools(upstreams, "overflows_total", .counter, "Refused by a circuit breaker's limit.") {
            "\($0.overflows)"
        }
        self.pools(upstreams, "circuit_requests", .gauge, "Requests that count against the circuit breaker.") {
            $0.circuitRequests.map { "\($0)" }
        }
        self.pools(upstreams, "circuit_retries", .gauge, "Retries that count against the circuit breaker.") {
            $0.circuitRetries.map { "\($0)" }
        }
        self.pools(upstreams, "ejections_total", .counter, "Instances ejected as outliers.") { "\($0.ejections)" }
        self.pools(upstreams, "none_available_total", .counter, "Requests for which no instance was left.") {
            "\($0.noneAvailable)"
        }
    }

    private mutating func instances(
        _ upstreams: [GatewayMetrics.Upstream],
        _ name: String,
        _ kind: Kind,
        _ help: String,
        _ value: (GatewayMetrics.Instance) -> String?
    ) {
        let name = "parley_gateway_upstream_" + name
        self.family(name, kind, help)
        for upstream in upstreams {
            for instance in upstream.instances {
                guard let value = value(instance) else { continue }
                self.sample(name, [("upstream", upstream.name), ("instance", instance.name)], value)
            }
        }
    }

    private mutating func pools(
        _ upstreams: [GatewayMetrics.Upstream],
        _ name: String,
        _ kind: Kind,
        _ help: String,
        _ value: (GatewayMetrics.Upstream) -> String?
    ) {
        let name = "parley_gateway_upstream_" + name
        self.family(name, kind, help)
        for upstream in upstreams {
            guard let value = value(upstream) else { continue }
            self.sample(name, [("upstream", upstream.name)], value)
        }
    }

    private mutating func zones(_ zones: [GatewayMetrics.Zone]) {
        self.family("parley_gateway_limit_requests_total", .counter, "What limiters decided, by zone.")
        for zone in zones {
            for (result, count) in [
                ("passed", zone.passed), ("delayed", zone.delayed), ("rejected", zone.rejected),
            ] {
                self.sample(
                    "parley_gateway_limit_requests_total",
                    [("zone", zone.name), ("result", result)],
                    "\(count)"
                )
            }
        }
    }

    private mutating func connections(_ connections: GatewayMetrics.Connections) {
        self.single(
            "parley_gateway_connections_accepted_total",
            .counter,
            "Connections of clients.",
            connections.accepted
        )
        self.single("parley_gateway_connections_active", .gauge, "Connections now open.", connections.active)
        self.single(
            "parley_gateway_connections_refused_total",
            .counter,
            "Closed at once: there were as many as there may be.",
            connections.refused
        )
        self.single(
            "parley_gateway_handshakes_failed_total",
            .counter,
            "TLS handshakes that failed.",
            connections.handshakesFailed
        )
        self.single(
            "parley_gateway_http2_streams_reset_total",
            .counter,
            "Streams that clients reset.",
            connections.streamsReset
        )
        self.single(
            "parley_gateway_http2_violations_total",
            .counter,
            "Connections ended because they broke a rule or a limit of HTTP/2.",
            connections.violations
        )
    }

    // MARK: - Lines

    private mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: some BinaryInteger) {
        self.family(name, kind, help)
        self.sample(name, [], "\(value)")
    }

    private mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        self.text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }

    private mutating func sample(_ name: String, _ labels: [(name: String, value: String)], _ value: String) {
        self.text += name
        if !labels.isEmpty {
            let parts = labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }
            self.text += "{\(parts.joined(separator: ","))}"
        }
        self.text += " \(value)\n"
    }

    private static func labels(_ route: GatewayMetrics.Route) -> [(name: String, value: String)] {
        [("server", route.server), ("route", route.route)]
    }

    static func escaped(_ value: String) -> String {
        var result = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": result += #"\\"#
            case "\"": result += #"\""#
            case "\n": result += #"\n"#
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    /// Exact: a floating-point number would round.
    static func seconds(_ microseconds: UInt64) -> String {
        let (whole, rest) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        guard rest > 0 else { return "\(whole)" }
        let digits = String(rest)
        var fraction = String(repeating: "0", count: 6 - digits.count) + digits
        while fraction.hasSuffix("0") { fraction.removeLast() }
        return "\(whole).\(fraction)"
    }
}
