package config

import "testing"

func TestX(t *testing.T) {
	d := parse("x.toml", []byte(`
hostnam = "a"
data = 5
[listen]
submision = { addr = ":1" }
inbound = { addr = 5, foo = 1 }
[authority.bau]
name = "x"
adresses = []
[[route]]
name = "a"
wen = "x"
[[route]]
name = "b"
give_up = "xx"
via = [ 5, "a" ]
[platform.incamail]
recognised = { from = "2022" }
max_size = "30 XB"
[foo.bar]
x = 1
`))
	for _, p := range d.problems {
		t.Log(p)
	}
	d = parse("x.toml", []byte(`hostname = "a"
[[route]]
name = "a"
[authority.x]
name = "q"
`))
	for _, p := range d.problems {
		t.Log(p)
	}
	d = parse("x.toml", []byte("hostname = \"a\"\nfoo = = 5\n"))
	for _, p := range d.problems {
		t.Log(p)
	}
	t.Log(Describe())
	t.Logf("%+v", d.file)
}
