internal import ArgumentParser

/// The command for those who operate a system.
@main
struct Parley: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parley",
        abstract: "Set up, look at and mend a system: its bus (embedded, RabbitMQ or Redis), its sagas, its gateway.",
        discussion: """
            EXAMPLES
              parley rabbitmq plan           how the broker differs from parley.yaml
              parley rabbitmq apply          make the broker as the file says
              parley queues --watch          how deep is each queue, who takes from it
              parley consumers --bus amqp://myapp:secret@localhost/myapp-vhost
              parley streams --bus redis://localhost:6379
              parley pending order-events notification-service --bus redis://localhost:6379
              parley dead-letters list --json
              parley sagas list --status stuck
              parley registry                a service registry that speaks Consul's HTTP API and DNS
              parley gateway run --nginx nginx.conf
              parley explain                 why requests failed at the gateway

            Without --bus, the bus is ./data/bus.db. Colours are used on a terminal, unless NO_COLOR is set.
            Shell completion: parley --generate-completion-script bash > /etc/bash_completion.d/parley
            """,
        version: "0.1.0",
        subcommands: [
            RabbitMQ.self, Queues.self, Consumers.self, Streams.self, Pending.self, DeadLetters.self, Sagas.self,
            RegistryCommand.self, GatewayCommand.self, ExplainCommand.self,
        ]
    )
}
