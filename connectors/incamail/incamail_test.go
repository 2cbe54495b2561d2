package incamail_test

import (
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/incamail"
	"gatewayd/message"
	"gatewayd/policy"
)

func open(t *testing.T, link connectors.ClientOptions) connectors.Connector {
	t.Helper()
	c, err := incamail.New(incamail.Options{Link: link, Vocabulary: policy.DefaultVocabulary()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Registered, open)
}
