internal import ParleyGateway
internal import Testing

@Suite struct LimitKeyTests {
    /// What `openssl mac` makes of the bytes 0, 1, 2, … with the key 0, 1, … 15: the lower half first, lowest byte first.
    @Test(arguments: [
        (0, 0xe6a8_25ba_047f_81a3 as UInt64, 0x9302_55c7_1472_f66d as UInt64),
        (1, 0x44af_996b_d8c1_87da, 0x45fc_229b_1159_7634),
        (15, 0x11a8_b033_99e9_9354, 0xd9c3_cf97_0fec_087e),
        (16, 0xbb54_b067_caa4_e26e, 0x7705_2385_bf15_33fd),
    ])
    func isSipHash(count: Int, low: UInt64, high: UInt64) {
        let key = limitKey((0..<count).map { UInt8($0) })
        #expect(key == LimitKey(low: low, high: high, byteCount: count))
    }

    @Test func partsMakeTheWhole() {
        for cut in 0...20 {
            let bytes = (0..<20).map { UInt8($0) }
            #expect(self.joined(Array(bytes[..<cut]), Array(bytes[cut...])) == limitKey(bytes))
        }
    }

    private func joined(_ first: [UInt8], _ second: [UInt8]) -> LimitKey {
        var hasher = LimitKeyHasher(seed: keySeed)
        hasher.combine(first.span)
        hasher.combine(second.span)
        return hasher.finish()
    }

    @Test func theSeedMatters() {
        let other = LimitKeySeed(first: keySeed.first, second: keySeed.second &+ 1)
        #expect(limitKey([1, 2, 3], seed: other) != limitKey([1, 2, 3]))
        #expect(limitKey([0] as [UInt8]) != limitKey([0, 0] as [UInt8]))
    }
}
