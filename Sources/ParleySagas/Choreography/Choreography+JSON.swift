internal import Foundation
internal import ParleyCore

extension Choreography {
    /// The largest file that is read.
    public static let maximumFileBytes = SagaDefinition.maximumFileBytes
    /// How many events one choreography may declare: each is a binding of the monitor's consumer group.
    public static let maximumEvents = 100

    /// Reads a file with one or more choreographies.
    ///
    /// Unknown fields are kept as ``unknownFields`` and are errors of the linter.
    /// - Throws: ``SagaError`` with ``SagaError/Code/invalidDefinition``, naming the place.
    public static func read(json: [UInt8]) throws -> [Choreography] {
        guard json.count <= self.maximumFileBytes else {
            throw SagaError(
                .invalidDefinition,
                "the file has \(json.count) bytes; the limit is \(self.maximumFileBytes)"
            )
        }
        do {
            let file = try JSONDecoder().decode([String: ChoreographyFile].self, from: Data(json))
            return try file.sorted { $0.key < $1.key }.map { try $1.choreography(named: $0) }
        } catch let error as DecodingError {
            throw SagaError.unreadable(error)
        }
    }

    /// The choreography in one fixed spelling, which ``read(json:)`` gives back: what instances are pinned to.
    public var canonicalJSON: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode([self.name: ChoreographyFile(self)]) else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    /// A short name for ``canonicalJSON``; see ``SagaDefinition/fingerprint``.
    public var fingerprint: String { shortFingerprint(self.canonicalJSON) }
}

/// The file's shape. Times are seconds, as the names say.
private struct ChoreographyFile: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case events, version, description
        case start = "starts_with"
        case stuckAfter = "stuck_after_seconds"
    }

    var start: String
    var events: [String: EventFile]
    var stuckAfter: Double?
    var version: String?
    var description: String?
    var unknown: [String] = []

    init(_ choreography: Choreography) {
        self.start = choreography.start
        self.events = choreography.events.mapValues { EventFile($0) }
        self.stuckAfter = choreography.stuckAfter.inSeconds
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.start = try container.decode(String.self, forKey: .start)
        self.events = try container.decode([String: EventFile].self, forKey: .events)
        self.stuckAfter = try container.decodeIfPresent(Double.self, forKey: .stuckAfter)
        self.version = try container.decodeIfPresent(String.self, forKey: .version)
        self.description = try container.decodeIfPresent(String.self, forKey: .description)
        self.unknown = try DynamicKey.unknown(in: decoder, known: CodingKeys.allCases.map(\.rawValue), at: [])
    }

    func choreography(named name: String) throws -> Choreography {
        guard self.events.count <= Choreography.maximumEvents else {
            throw SagaError(
                .invalidDefinition,
                "\(name): \(self.events.count) events are declared; the limit is \(Choreography.maximumEvents)"
            )
        }
        var unknown = self.unknown
        for (event, file) in self.events.sorted(by: { $0.key < $1.key }) {
            unknown += file.unknownPaths.map { "events.\(event).\($0)" }
        }
        return Choreography(
            name: name,
            start: self.start,
            events: self.events.mapValues(\.event),
            stuckAfter: duration(ofSeconds: self.stuckAfter) ?? .seconds(60),
            unknownFields: unknown
        )
    }
}

private struct EventFile: Codable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case by, then, compensates, ends, description
        case askedBy = "asked_by"
        case atMost = "at_most"
    }

    struct ExpectationFile: Codable {
        enum CodingKeys: String, CodingKey, CaseIterable {
            case oneOf = "one_of"
            case within = "within_seconds"
        }

        var oneOf: [String]
        var within: Double?
        var unknown: [String] = []

        init(_ expectation: Choreography.Expectation) {
            self.oneOf = expectation.oneOf
            self.within = expectation.within?.inSeconds
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            self.oneOf = try container.decode([String].self, forKey: .oneOf)
            self.within = try container.decodeIfPresent(Double.self, forKey: .within)
            self.unknown = try DynamicKey.unknown(in: decoder, known: CodingKeys.allCases.map(\.rawValue), at: [])
        }
    }

    var by: String
    var then: [ExpectationFile]?
    var compensates: String?
    var askedBy: String?
    var ends: Choreography.End?
    var atMost: Int?
    var description: String?
    var unknown: [String] = []

    init(_ event: Choreography.Event) {
        self.by = event.by
        self.then = event.then.map { ExpectationFile($0) }
        self.compensates = event.compensates
        self.askedBy = event.askedBy
        self.ends = event.end
        self.atMost = event.atMost
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.by = try container.decode(String.self, forKey: .by)
        self.then = try container.decodeIfPresent([ExpectationFile].self, forKey: .then)
        self.compensates = try container.decodeIfPresent(String.self, forKey: .compensates)
        self.askedBy = try container.decodeIfPresent(String.self, forKey: .askedBy)
        self.ends = try container.decodeIfPresent(Choreography.End.self, forKey: .ends)
        self.atMost = try container.decodeIfPresent(Int.self, forKey: .atMost)
        self.description = try container.decodeIfPresent(String.self, forKey: .description)
        self.unknown = try DynamicKey.unknown(in: decoder, known: CodingKeys.allCases.map(\.rawValue), at: [])
    }

    var unknownPaths: [String] {
        self.unknown
            + (self.then ?? []).enumerated().flatMap { index, expectation in
                expectation.unknown.map { "then[\(index)].\($0)" }
            }
    }

    var event: Choreography.Event {
        Choreography.Event(
            by: self.by,
            then: (self.then ?? []).map {
                Choreography.Expectation(oneOf: $0.oneOf, within: duration(ofSeconds: $0.within))
            },
            compensates: self.compensates,
            askedBy: self.askedBy,
            end: self.ends,
            atMost: self.atMost ?? 1
        )
    }
}
