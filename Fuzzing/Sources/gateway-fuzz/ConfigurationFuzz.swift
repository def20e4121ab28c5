import Logging
import ParleyCore
import ParleyHTTPClient

@testable import ParleyGateway
@testable import ParleyOps

/// Both front ends, the plan behind them, and the way from one to the other.
enum ConfigurationFuzz {
    // MARK: nginx

    @Sendable static func nginx(_ bytes: [UInt8]) {
        let path = "/etc/nginx/fuzz.conf"
        let model: GatewayModel
        do throws(NginxErrors) {
            model = try NginxConfiguration.read(path: path, files: OneFile(path: path, bytes: bytes)).0
        } catch {
            promise((1...NginxErrors.limit).contains(error.problems.count), "an error without a problem, or too many")
            for problem in error.problems {
                promise(problem.place.line >= 1 && problem.place.column >= 1, "a problem without a place")
                promise(!problem.message.isEmpty, "a problem without a word")
                promise(!problem.description.utf8.contains(0x0A), "a problem in two lines")
            }
            return
        }
        promise(model.servers.allSatisfy { !$0.listens.isEmpty && !$0.names.isEmpty }, "a server without a socket")
        self.compile(model)
        // YAML has text alone, and there has to be a server in it.
        guard String(validating: bytes, as: UTF8.self) != nil, !model.servers.isEmpty else { return }
        let text: String
        do {
            text = try GatewayYAML.write(model)
        } catch {
            return promise(false, "nginx's configuration cannot be written as YAML: \(error)")
        }
        promise(self.read(text) == model, "YAML says something else than nginx's configuration")
    }

    /// `include` finds the file itself, once too often, or nothing.
    private struct OneFile: NginxFiles {
        let path: String
        let bytes: [UInt8]

        func contents(of path: String, limit: Int) throws(NginxFileError) -> [UInt8] {
            guard path == self.path else { throw NginxFileError("open() \"\(path)\" failed") }
            return self.bytes
        }

        func matches(of pattern: String, limit: Int) throws(NginxFileError) -> [String] {
            pattern.contains("*") ? [self.path] : []
        }
    }

    // MARK: parley.yaml

    @Sendable static func yaml(_ bytes: [UInt8]) {
        guard let text = String(validating: bytes, as: UTF8.self), let model = self.read(text) else { return }
        self.compile(model)
        let again: String
        do {
            again = try GatewayYAML.write(model)
        } catch {
            return promise(false, "what was read cannot be written: \(error)")
        }
        promise(self.read(again) == model, "what is written is read as something else")
    }

    private static func read(_ text: String) -> GatewayModel? {
        do {
            return try GatewayYAML.read(text: text, file: "fuzz.yaml", variables: ["HOME": "/root"])
        } catch let error as ConfigurationError {
            promise(!error.problems.isEmpty, "an error without a problem")
            for problem in error.problems { promise(!problem.message.isEmpty, "a problem without a word") }
            return nil
        } catch {
            promise(false, "an error of another kind: \(error)")
            return nil
        }
    }

    // MARK: Plan

    private static let compiler = PlanCompiler(
        purpose: .routing,
        time: SystemTimeSource(),
        random: SeededRandomSource(seed: 1),
        logger: Logger(label: "fuzz"),
        log: AccessLogWriter(logger: Logger(label: "fuzz"), time: SystemTimeSource()),
        accessLog: nil,
        upstreamCertificates: UpstreamCertificates(time: SystemTimeSource()),
        connections: .ofGateway()
    )

    /// A plan, or an error that says where.
    private static func compile(_ model: GatewayModel) {
        do {
            let plan = try self.compiler.compileBlocking(model, after: nil)
            promise(plan.sockets.allSatisfy { !$0.servers.isEmpty }, "a socket without a server")
        } catch let error as GatewayError {
            promise(!error.description.isEmpty, "an error without a word")
        } catch {
            promise(false, "an error of another kind: \(error)")
        }
    }
}
