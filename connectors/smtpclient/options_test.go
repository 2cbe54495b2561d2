package smtpclient

import (
	"fmt"
	"strings"
	"testing"
)

func TestLoginHidesItself(t *testing.T) {
	o := Options{Login: &Login{Name: "konto", Password: "geheim"}}
	text := fmt.Sprintf("%v %+v %#v %s", *o.Login, o.Login, *o.Login, o.Login)
	if strings.Contains(text, "konto") || strings.Contains(text, "geheim") {
		t.Errorf("a printed login tells: %s", text)
	}
}
