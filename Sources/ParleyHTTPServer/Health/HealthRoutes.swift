internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension ParleyRouter {
    /// Adds `/health/live` (200 as long as the process answers), `/health/ready` (200, or 503 when a check is critical
    /// or the service drains) and `/health` (the same, for people: with every check).
    ///
    /// An ``HTTPService`` calls it when it is given a register.
    public func addHealthRoutes(_ health: HealthRegister) {
        self.get("health/live") { _, _ in
            Self.answer(
                .ok,
                HealthRegister.Report(
                    service: health.service.description,
                    status: .passing,
                    isDraining: health.isDraining,
                    checks: [:]
                )
            )
        }
        for path: RouterPath in ["health/ready", "health"] {
            self.get(path) { _, _ in
                let report = await health.report()
                return Self.answer(report.status == .critical ? .serviceUnavailable : .ok, report)
            }
        }
    }

    private static func answer(_ status: HTTPResponse.Status, _ report: HealthRegister.Report) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let body = (try? encoder.encode(report)) ?? Data()
        return Response(
            status: status,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(bytes: body))
        )
    }
}
