internal import Logging
internal import ParleyCore
internal import ParleyMessaging

/// The one place where the commands' transport over RabbitMQ is made.
enum RabbitMQComposition {
    static func transport(url: String, logger: Logger) -> TransportSource {
        TransportSource { _ in
            throw MessagingError(
                .unsupported,
                "dead letters on RabbitMQ need RabbitMQTransport, which this build does not have",
                retry: .permanent
            )
        }
    }
}
