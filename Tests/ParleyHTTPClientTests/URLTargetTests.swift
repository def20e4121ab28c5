internal import ParleyHTTPClient
internal import Testing

@Suite struct URLTargetTests {
    @Test(arguments: [
        "/", "/a/b?c=d&e", "/%C3%A9?q=%20", "/a;b=c,d:e@f", "/-._~!$&'()*+,;=:@/?", "//a", "/a?", "/a?b?c/d", "/%41",
    ])
    func leavesAURLAlone(_ target: String) { #expect(URLTarget.escaped(target) == target) }

    @Test(arguments: [
        ("/a?x=[1]&y=%20", "/a?x=%5B1%5D&y=%20"), ("/%", "/%25"), ("/%4", "/%254"), ("/%4g", "/%254g"),
        ("/a%%41", "/a%25%41"),
        ("/a|b\\c^d`e{f}\"<>", "/a%7Cb%5Cc%5Ed%60e%7Bf%7D%22%3C%3E"), ("/#", "/%23"), ("", ""),
    ])
    func escapesWhatDoesNotBelongThere(_ target: String, _ expected: String) {
        #expect(URLTarget.escaped(target) == expected)
        #expect(URLTarget.escaped(expected) == expected)
    }
}
