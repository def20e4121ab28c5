internal import JWTKit

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The public keys of an issuer (RFC 7517), each ready to check signatures of the algorithms that it is good for.
///
/// Only asymmetric algorithms are: a token that is signed with a public key as if it were a shared secret finds no key,
/// nor does one that is not signed.
struct JSONWebKeySet: Sendable {
    struct Key: Sendable {
        var id: String?
        var algorithm: String
        fileprivate var verifier: any JWTAlgorithm

        func isSignature(_ signature: [UInt8], of signed: some Sequence<UInt8>) -> Bool {
            (try? self.verifier.verify(signature, signs: Array(signed))) ?? false
        }
    }

    /// A set larger than this is cut: nobody rotates through so many.
    static let maxKeys = 64
    /// Of RSA; shorter keys can be factored.
    private static let minModulusCharacters = 341

    var keys: [Key] = []

    /// Keys of a kind or for a use that is not known are passed over; so is a key that is no key.
    ///
    /// - Returns: `nil` when this is no key set at all.
    static func parse(_ json: [UInt8]) async -> JSONWebKeySet? {
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(json)) else { return nil }
        var set = JSONWebKeySet()
        for entry in document.keys.prefix(self.maxKeys) {
            guard let jwk = entry.jwk, entry.use == nil || entry.use == "sig" else { continue }
            for algorithm in self.algorithms(of: jwk) {
                guard let verifier = await self.verifier(jwk, algorithm) else { continue }
                set.keys.append(Key(id: jwk.keyIdentifier?.string, algorithm: algorithm.rawValue, verifier: verifier))
            }
        }
        return set
    }

    /// Those that may have signed: of this id, or without any.
    func candidates(id: String?, algorithm: String) -> [Key] {
        self.keys.filter { key in
            key.algorithm == algorithm && (id == nil || key.id == nil || key.id == id)
        }
    }

    func knows(id: String) -> Bool { self.keys.contains { $0.id == id } }

    private static func algorithms(of jwk: JWK) -> [JWK.Algorithm] {
        let possible: [JWK.Algorithm]
        if jwk.keyType == .rsa {
            guard let modulus = jwk.modulus, modulus.utf8.count >= self.minModulusCharacters else { return [] }
            possible = [.rs256, .rs384, .rs512, .ps256, .ps384, .ps512]
        } else if jwk.keyType == .ecdsa {
            switch jwk.curve?.rawValue {
            case "P-256": possible = [.es256]
            case "P-384": possible = [.es384]
            case "P-521": possible = [.es512]
            default: possible = []
            }
        } else {
            possible = [.eddsa]
        }
        guard let only = jwk.algorithm else { return possible }
        return possible.filter { $0 == only }
    }

    private static func verifier(_ jwk: JWK, _ algorithm: JWK.Algorithm) async -> (any JWTAlgorithm)? {
        var jwk = jwk
        jwk.algorithm = algorithm
        jwk.privateExponent = nil
        let id = jwk.keyIdentifier ?? JWKIdentifier(string: "")
        jwk.keyIdentifier = id
        guard let collection = try? await JWTKeyCollection().add(jwk: jwk) else { return nil }
        return try? await collection.getKey(for: id, alg: algorithm.rawValue)
    }

    private struct Document: Decodable {
        var keys: [Entry]
    }

    private struct Entry: Decodable {
        var jwk: JWK?
        var use: String?

        private enum CodingKeys: String, CodingKey { case use }

        init(from decoder: any Decoder) throws {
            self.jwk = try? JWK(from: decoder)
            self.use = try? decoder.container(keyedBy: CodingKeys.self).decodeIfPresent(String.self, forKey: .use)
        }
    }
}
