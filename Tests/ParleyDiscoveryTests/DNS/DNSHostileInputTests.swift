internal import ParleyCore
internal import ParleyDiscovery
internal import Testing

/// Messages that nobody in good faith sends: each is an error, none a trap, none much work.
@Suite(.timeLimit(.minutes(5))) struct DNSHostileInputTests {
    private func header(_ counts: [UInt8] = [1, 0, 0, 0]) -> [UInt8] {
        [0, 1, 0, 0] + counts.flatMap { [0, $0] }
    }

    private func reason(_ bytes: [UInt8]) -> DNSFormatError.Reason? {
        #expect(throws: DNSFormatError.self) { try DNSMessage(decoding: bytes) }?.reason
    }

    @Test func pointersThatGoRound() {
        // To itself, to each other, and to the beginning of its own name.
        #expect(self.reason(self.header() + [0xC0, 12, 0, 1, 0, 1]) == .badPointer)
        #expect(self.reason(self.header([2, 0, 0, 0]) + [0xC0, 18, 0, 1, 0, 1, 0xC0, 12, 0, 1, 0, 1]) == .badPointer)
        #expect(self.reason(self.header() + [1, 97, 0xC0, 12, 0, 1, 0, 1]) == .badPointer)
    }

    @Test func pointersForward() {
        #expect(self.reason(self.header() + [0xC0, 18, 0, 1, 0, 1, 1, 97, 0]) == .badPointer)
        #expect(self.reason(self.header() + [0xFF, 0xFF, 0, 1, 0, 1]) == .badPointer)
    }

    @Test func pointersIntoTheHeader() {
        for offset in 0..<12 as Range<UInt8> {
            #expect(self.reason(self.header() + [0xC0, offset, 0, 1, 0, 1]) == .badPointer)
        }
    }

    @Test func pointersIntoANameThatIsNotOver() {
        // The second name points to one whose end would be the pointer itself.
        let bytes = self.header([2, 0, 0, 0]) + [0, 0, 1, 0, 1] + [1, 97, 0xC0, 16, 0, 1, 0, 1]
        #expect(self.reason(bytes) == .endsEarly)
    }

    @Test func chainsOfPointers() {
        // 200 pointers, each to the one before, hidden in a record's data; then a name at their end.
        var bytes = self.header([0, 2, 0, 0]) + [0, 0x03, 0xE8, 0, 1, 0, 0, 0, 0, 0x01, 0x91]
        var previous = bytes.count
        bytes.append(0)
        for _ in 0..<200 {
            let here = bytes.count
            bytes += [0xC0 | UInt8(previous >> 8), UInt8(previous & 0xFF)]
            previous = here
        }
        bytes += [0xC0 | UInt8(previous >> 8), UInt8(previous & 0xFF), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]
        #expect(self.reason(bytes) == .tooManyPointers)
    }

    @Test func namesThatPointersMakeTooLong() {
        // 63 bytes, then names that each put one more label before the one before.
        var bytes = self.header([5, 0, 0, 0])
        var previous: Int?
        for _ in 0..<5 {
            let here = bytes.count
            bytes += [63] + [UInt8](repeating: 97, count: 63)
            if let previous { bytes += [0xC0 | UInt8(previous >> 8), UInt8(previous & 0xFF)] } else { bytes.append(0) }
            bytes += [0, 1, 0, 1]
            previous = here
        }
        #expect(self.reason(bytes) == .nameTooLong)
    }

    @Test(arguments: [0x40, 0x41, 0x80, 0xBF] as [UInt8]) func labelsOfKindsThatNobodyDefined(_ first: UInt8) {
        #expect(self.reason(self.header() + [first, 0, 0, 0, 1, 0, 1]) == .unknownLabelKind)
    }

    @Test func countsThatLie() {
        let question: [UInt8] = [1, 97, 0, 0, 1, 0, 1]
        #expect(self.reason([0, 1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) == .endsEarly)
        #expect(self.reason(self.header([2, 0, 0, 0]) + question) == .endsEarly)
        #expect(self.reason(self.header([1, 0, 0, 1]) + question) == .endsEarly)
        #expect(self.reason(self.header([0, 0, 0, 0]) + question) == .trailingBytes)
        #expect(self.reason(self.header() + question + [0]) == .trailingBytes)
    }

    /// One answer at the root with this type and data, its length as given or as it is.
    private func answer(_ type: UInt8, _ data: [UInt8], length: UInt8? = nil) -> [UInt8] {
        self.header([0, 1, 0, 0]) + [0, 0, type, 0, 1, 0, 0, 0, 0, 0, length ?? UInt8(data.count)] + data
    }

    @Test func dataThatIsTooShortOrTooLong() {
        #expect(self.reason(self.answer(1, [1, 2, 3])) == .badRecordData)
        #expect(self.reason(self.answer(1, [1, 2, 3, 4, 5])) == .badRecordData)
        #expect(self.reason(self.answer(28, [1, 2, 3, 4])) == .badRecordData)
        #expect(self.reason(self.answer(1, [1, 2, 3, 4], length: 200)) == .endsEarly)
        #expect(self.reason(self.answer(33, [0, 1, 0, 1, 0])) == .badRecordData)
        #expect(self.reason(self.answer(33, [0, 1, 0, 1, 0, 80])) == .badRecordData)
        #expect(self.reason(self.answer(33, [0, 1, 0, 1, 0, 80, 0, 0])) == .badRecordData)
        #expect(self.reason(self.answer(5, [3, 97])) == .badRecordData)
        #expect(self.reason(self.answer(5, [])) == .badRecordData)
        #expect(self.reason(self.answer(6, [0, 0] + [UInt8](repeating: 0, count: 19))) == .badRecordData)
        #expect(self.reason(self.answer(6, [0, 0] + [UInt8](repeating: 0, count: 21))) == .badRecordData)
        #expect(self.reason(self.answer(16, [])) == .badRecordData)
        #expect(self.reason(self.answer(16, [2, 97])) == .badRecordData)
        // The name would go on behind its record.
        #expect(self.reason(self.answer(2, [1], length: 1) + [97, 0]) == .badRecordData)
    }

    @Test func oneOPTAndOnlyWhereItBelongs() throws {
        let opt: [UInt8] = [0, 0, 41, 4, 0xD0, 0, 0, 0, 0, 0, 0]
        #expect(try DNSMessage(decoding: self.header([0, 0, 0, 1]) + opt).edns?.udpPayloadSize == 1_232)
        #expect(self.reason(self.header([0, 0, 0, 2]) + opt + opt) == .misplacedOPT)
        #expect(self.reason(self.header([0, 1, 0, 0]) + opt) == .misplacedOPT)
        #expect(self.reason(self.header([0, 0, 1, 0]) + opt) == .misplacedOPT)
        #expect(self.reason(self.header([0, 0, 0, 1]) + [1, 97] + opt) == .misplacedOPT)
        #expect(self.reason(self.header([0, 0, 0, 1]) + opt.dropLast() + [9]) == .endsEarly)
    }

    @Test func everyBeginningOfAMessageIsAnError() throws {
        var random = RandomDNS(seed: 77)
        for _ in 0..<8 {
            let bytes = random.message().encoded().bytes
            for length in 0..<bytes.count {
                #expect(throws: DNSFormatError.self) { try DNSMessage(decoding: Array(bytes.prefix(length))) }
            }
        }
    }

    @Test(arguments: 0..<8) func damagedMessagesAreErrorsOrMessages(_ seed: UInt64) throws {
        var random = RandomDNS(seed: 500 + seed)
        var read = 0
        for _ in 0..<2_000 {
            var bytes = random.message().encoded().bytes
            for _ in 0...random.number(below: 4) where !bytes.isEmpty {
                let index = random.number(below: bytes.count)
                switch random.number(below: 3) {
                case 0: bytes[index] = UInt8(random.number(below: 256))
                case 1: bytes.remove(at: index)
                default: bytes.insert(contentsOf: random.bytes(upTo: 4), at: index)
                }
            }
            guard let message = try? DNSMessage(decoding: bytes) else { continue }
            read += 1
            // What was taken for a message is one.
            #expect(try DNSMessage(decoding: message.encoded().bytes) == message)
        }
        #expect(read > 0 && read < 2_000)
    }

    @Test func theWorstMessageIsLittleWork() {
        // 64 KiB of records whose names are as long and as much in pieces as may be.
        var bytes = [0, 1, 0, 0, 0, 0, 0x0F, 0, 0, 0, 0, 0] as [UInt8]
        bytes += [0, 0x03, 0xE8, 0, 1, 0, 0, 0, 0, 0x01, 0xFB]
        var previous = bytes.count
        bytes += [1, 97, 0]
        for _ in 0..<126 {
            let here = bytes.count
            bytes += [1, 97, 0xC0 | UInt8(previous >> 8), UInt8(previous & 0xFF)]
            previous = here
        }
        while bytes.count + 16 <= DNSMessage.maximumLength {
            bytes += [0xC0 | UInt8(previous >> 8), UInt8(previous & 0xFF), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]
        }
        let count = (bytes.count - 530) / 16 + 1
        bytes[6] = UInt8(count >> 8)
        bytes[7] = UInt8(count & 0xFF)
        let time = SystemTimeSource()
        let start = time.now
        let message = try? DNSMessage(decoding: bytes)
        // Seconds even when the machine is busy would mean that the work is not linear.
        #expect(start.duration(to: time.now) < .seconds(20))
        #expect(message?.answers.last?.name.labels.count == 127)
    }
}
