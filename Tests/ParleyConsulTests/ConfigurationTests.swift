import Foundation
import ParleyCore
import Testing

@testable import ParleyConsul

@Suite(.timeLimit(.minutes(1))) struct ConsulConfigurationTests {
    @Test func readsURLs() throws {
        let plain = try ConsulConfiguration(url: "consul://10.0.0.5")
        #expect(plain.endpoint == Endpoint(host: "10.0.0.5", port: 8_500))
        #expect(plain.token == nil && plain.tls == nil && plain.datacenter == nil)
        let full = try ConsulConfiguration(url: "consul://se%40cret@consul.local:9999?dc=east&tls=true")
        #expect(full.endpoint == Endpoint(host: "consul.local", port: 9_999))
        #expect(full.token == ConsulToken("se@cret"))
        #expect(full.tls == ConsulConfiguration.TLS())
        #expect(full.datacenter == "east")
        #expect(full.address == "https://consul.local:9999")
        #expect(try ConsulConfiguration(url: "consul://h?tls=true").endpoint.port == 8_501)
        #expect(try ConsulConfiguration(url: "consul://h?tls=false").tls == nil)
        #expect(try ConsulConfiguration(url: "consul://[::1]:1").endpoint == Endpoint(host: "::1", port: 1))
    }

    @Test(arguments: [
        "", "consul://", "http://h:8500", "consul://h:0", "consul://h:99999", "consul://h/v1", "consul://h?x=1",
        "consul://h?dc=", "consul://h?dc=a&dc=b", "consul://h?tls=yes", "consul://h#f", "consul://tok:en@h", "h:8500",
    ])
    func refusesOthers(_ url: String) {
        #expect { try ConsulConfiguration(url: url) } throws: { error in
            (error as? ConsulError)?.code == .invalidConfiguration
        }
    }

    @Test func readsConsulsOwnVariables() throws {
        #expect(try ConsulConfiguration(environment: [:]).endpoint == Endpoint(host: "127.0.0.1", port: 8_500))
        let configuration = try ConsulConfiguration(environment: [
            "CONSUL_HTTP_ADDR": "https://consul.local:8443/", "CONSUL_HTTP_TOKEN": "secret", "CONSUL_CACERT": "ca.pem",
            "CONSUL_CLIENT_CERT": "c.pem", "CONSUL_CLIENT_KEY": "c.key", "CONSUL_TLS_SERVER_NAME": "server.dc1",
            "CONSUL_HTTP_SSL_VERIFY": "false",
        ])
        var tls = ConsulConfiguration.TLS()
        tls.authoritiesFile = "ca.pem"
        tls.certificateFile = "c.pem"
        tls.keyFile = "c.key"
        tls.serverName = "server.dc1"
        tls.verifiesAgent = false
        #expect(configuration.tls == tls)
        #expect(configuration.endpoint == Endpoint(host: "consul.local", port: 8_443))
        #expect(configuration.token == ConsulToken("secret"))
        let ssl = try ConsulConfiguration(environment: ["CONSUL_HTTP_ADDR": "h", "CONSUL_HTTP_SSL": "1"])
        #expect(ssl.endpoint == Endpoint(host: "h", port: 8_501) && ssl.tls != nil)
    }

    @Test(arguments: [
        ["CONSUL_HTTP_ADDR": "unix:///var/run/consul.sock"], ["CONSUL_HTTP_ADDR": "h:x"], ["CONSUL_HTTP_SSL": "maybe"],
        ["CONSUL_HTTP_ADDR": "h:0"], ["CONSUL_HTTP_TOKEN_FILE": "/nowhere/token"],
    ])
    func refusesVariablesThatSayNothing(_ environment: [String: String]) {
        #expect { try ConsulConfiguration(environment: environment) } throws: { error in
            (error as? ConsulError)?.code == .invalidConfiguration
        }
    }

    @Test func aTokenMayBeInAFile() throws {
        let path = NSTemporaryDirectory() + "parley-consul-token-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("secret\n".utf8).write(to: URL(fileURLWithPath: path))
        let configuration = try ConsulConfiguration(environment: ["CONSUL_HTTP_TOKEN_FILE": path])
        #expect(configuration.token == ConsulToken("secret"))
    }

    @Test func noPrintShowsTheToken() throws {
        let configuration = try ConsulConfiguration(url: "consul://hush-hush@127.0.0.1:1")
        var dumped = ""
        dump(configuration, to: &dumped)
        let texts = [dumped, "\(configuration)", String(reflecting: configuration), "\(ConsulToken("hush-hush"))"]
        for text in texts { #expect(!text.contains("hush")) }
        #expect { try ConsulConfiguration(url: "consul://hush-hush@h/wrong") } throws: { error in
            !"\(error)".contains("hush")
        }
    }

    @Test func missingCertificatesAreSaid() {
        var configuration = ConsulConfiguration()
        var tls = ConsulConfiguration.TLS()
        tls.authoritiesFile = "/nowhere/ca.pem"
        configuration.tls = tls
        #expect { try ConsulClient(configuration) } throws: { error in
            "\(error)".contains("/nowhere/ca.pem")
        }
    }
}
