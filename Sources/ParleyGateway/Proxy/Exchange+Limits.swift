internal import NIOCore
internal import ParleyCore

extension Exchange {
    private func key(_ template: Template) -> LimitKey {
        // What nearly all limits go by.
        if template.isClientAddress {
            let address = self.client.bytes
            return LimitKey(address.span, seed: self.plan.keySeed)
        }
        var buffer = ByteBuffer()
        template.write(into: &buffer, scope: self)
        return LimitKey(buffer.readableBytesUInt8Span, seed: self.plan.keySeed)
    }

    /// `limit_req`, once for a request.
    func limitRequests() {
        if let probe { return self.conclude(probe) }
        guard let location = self.location else { return }
        if let rules = location.settings.realIP, rules != self.server?.outside.settings.realIP {
            self.findRealAddress(rules)
        }
        guard !location.requestLimiter.isEmpty, !self.isLimited else { return self.limitConnections() }
        self.isLimited = true
        if let shared = location.sharedLimits { return self.limitTogether(shared, location) }
        // Nothing has been waited for since it began.
        self.limitAlone(now: self.startedMilliseconds)
    }

    /// By the counters of this gateway.
    ///
    /// - Parameters:
    ///   - others: Limits that have been looked at elsewhere.
    ///   - wait: Milliseconds that they make the request wait.
    func limitAlone(except others: [Int] = [], waiting wait: Int64 = 0, now: Int64? = nil) {
        guard let location = self.location else { return }
        var verdict = location.requestLimiter.check(now: now ?? self.worker.milliseconds) { index in
            others.contains(index) ? .none : self.key(location.requestKeys[index])
        }
        switch verdict.outcome {
        case .delayed(let own): verdict.outcome = .delayed(milliseconds: max(own, wait))
        case .passed where wait > 0: verdict.outcome = .delayed(milliseconds: wait)
        case .passed, .rejected: break
        }
        if verdict.limit == nil { verdict.limit = others.first }
        self.decide(verdict)
    }

    func decide(_ verdict: RequestVerdict) {
        guard let location = self.location else { return }
        self.noteZones(verdict, location)
        switch verdict.outcome {
        case _ where verdict.isDryRun, .passed:
            self.limitConnections()
        case .delayed(let milliseconds):
            self.phase = .delayed
            self.timer.set(milliseconds: Int(clamping: milliseconds))
        case .rejected:
            self.noteRejection(verdict, location)
            self.fail(UInt16(clamping: location.settings.requestLimitStatus), .rateLimited, "above the rate")
        }
    }

    private func noteZones(_ verdict: RequestVerdict, _ location: CompiledLocation) {
        // A reload may have given the numbers to others.
        guard let limit = verdict.limit, self.plan === self.worker.plan else { return }
        let zone = location.requestZoneNumbers[limit]
        guard zone < self.worker.metrics.zones.count else { return }
        switch verdict.outcome {
        case .passed: self.worker.metrics.zones[zone].passed &+= 1
        case .delayed: self.worker.metrics.zones[zone].delayed &+= 1
        case .rejected: self.worker.metrics.zones[zone].rejected &+= 1
        }
    }

    /// One that is rejected counts there only: the zones before it have given back what they took.
    private func noteZones(_ verdict: ConnectionLimiter.Verdict, _ location: CompiledLocation) {
        guard self.plan === self.worker.plan else { return }
        switch verdict {
        case .unlimited: break
        case .passed:
            for zone in location.connectionZoneNumbers where zone < self.worker.metrics.zones.count {
                self.worker.metrics.zones[zone].passed &+= 1
            }
        case .rejected(let index, _):
            guard index < location.connectionZoneNumbers.count else { return }
            let zone = location.connectionZoneNumbers[index]
            guard zone < self.worker.metrics.zones.count else { return }
            self.worker.metrics.zones[zone].rejected &+= 1
        }
    }

    private func noteRejection(_ verdict: RequestVerdict, _ location: CompiledLocation) {
        guard let index = verdict.limit else { return }
        let use = location.settings.requestLimits[index]
        let rate = self.plan.model.requestZones.first { $0.name == use.zone }?.rate ?? 1
        let ahead = verdict.excess - Int64(use.burst) * 1_000
        self.limitState = ExchangeRecord.LimitState(
            kind: .requests,
            zone: use.zone,
            key: self.readable(location.requestKeys[index]),
            limit: rate,
            burst: use.burst,
            current: Int(clamping: verdict.excess),
            nextMilliseconds: Int(clamping: max(0, ahead) * 1_000 / Int64(max(1, rate)))
        )
    }

    /// For people: of an address in bytes, its text.
    private func readable(_ key: Template) -> String {
        if key.isClientAddress {
            return String(buffer: self.client.text)
        }
        return String(buffer: key.evaluated(in: self))
    }

    func limitConnections() {
        self.phase = .routing
        guard let location = self.location else { return }
        // Once for a request, as `limit_req`.
        guard !location.connectionLimiter.isEmpty, self.leasedBy == nil else { return self.authorize() }
        self.leasedBy = location
        let verdict = location.connectionLimiter.take(&self.connectionLease) { index in
            self.key(location.connectionKeys[index])
        }
        self.noteZones(verdict, location)
        guard case .rejected(let index, let isDryRun) = verdict, !isDryRun else { return self.authorize() }
        let use = location.connectionZones[index]
        self.limitState = ExchangeRecord.LimitState(
            kind: .connections,
            zone: use.zone,
            key: self.readable(location.connectionKeys[index]),
            limit: use.limit,
            current: use.limit
        )
        self.fail(
            UInt16(clamping: location.settings.connectionLimitStatus),
            .connectionLimited,
            "as many requests at once as allowed"
        )
    }
}
