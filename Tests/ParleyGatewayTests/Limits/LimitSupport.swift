internal import ParleyGateway

let keySeed = LimitKeySeed(first: 0x0706_0504_0302_0100, second: 0x0f0e_0d0c_0b0a_0908)

func limitKey(_ bytes: [UInt8], seed: LimitKeySeed = keySeed) -> LimitKey { LimitKey(bytes.span, seed: seed) }

func limitKey(_ text: String) -> LimitKey { limitKey(Array(text.utf8)) }
