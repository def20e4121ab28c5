internal import ArgumentParser

/// The guide's example, whole: six services, a gateway and a bus in one binary, a subcommand for each.
@main
struct OrderSystem: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "order-system",
        abstract: "An order system of six services: the example that Parley is explained with.",
        discussion: """
            EXAMPLES
              order-system up                          everything in one process, gateway on port 8080
              order-system up --port 9080 --data /tmp/shop
              order-system up --without payment-service    … and in another terminal, later:
              order-system payment-service
              order-system sagas --status stuck        what needs a person
              order-system dead-letters --json

            It needs no server: each service keeps a SQLite file in the data folder, the bus is one more.
            """,
        subcommands: [
            Up.self, UserServiceCommand.self, ProductServiceCommand.self, OrderServiceCommand.self,
            InventoryServiceCommand.self, PaymentServiceCommand.self, NotificationServiceCommand.self,
            GatewayCommand.self, Sagas.self, DeadLetters.self,
        ],
        defaultSubcommand: nil
    )
}
