package import ParleyCore

/// Why a gateway cannot run with a configuration, or cannot listen.
package struct GatewayError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// The configuration contradicts itself, or names what is not there.
        case invalidConfiguration
        /// A host of an upstream has no address.
        case unknownHost
        /// An address cannot be listened on.
        case cannotListen
        /// A file of the configuration cannot be used.
        case unusableFile
        /// Something behind an address does not answer as it should.
        case unreachable
    }

    package var code: Code
    /// What is wrong, where, and what to do about it.
    package var message: String
    package var cause: (any Error)?
    /// Where it could not listen.
    package var endpoint: Endpoint?

    package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    package var description: String { self.message }
}

extension GatewayError {
    /// Says of an error where in the configuration it is.
    static func placed<Value>(
        _ place: @autoclosure () -> String,
        _ body: () throws -> Value
    ) throws(GatewayError) -> Value {
        do {
            return try body()
        } catch let error as GatewayError {
            throw GatewayError(error.code, "\(place()): \(error.message)")
        } catch let error as PeerGroupError {
            // It names its upstream itself.
            throw GatewayError(.invalidConfiguration, "\(error)")
        } catch let error as TLSProblem {
            throw GatewayError(.unusableFile, "\(place()): \(error)")
        } catch {
            throw GatewayError(.invalidConfiguration, "\(place()): \(error)")
        }
    }
}
