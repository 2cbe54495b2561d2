package privasphere_test

import (
	"testing"

	"gatewayd/connectors"
	"gatewayd/connectors/connectortest"
	"gatewayd/connectors/privasphere"
	"gatewayd/message"
	"gatewayd/policy"
)

func bySubject(t *testing.T, link connectors.ClientOptions) connectors.Connector {
	t.Helper()
	return newConnector(t, privasphere.Options{Link: link, RegisteredTag: "<egov> ", ConfidentialTag: "<c>", MaxSize: 20_000_000})
}

func newConnector(t *testing.T, o privasphere.Options) connectors.Connector {
	t.Helper()
	o.Vocabulary = policy.DefaultVocabulary()
	c, err := privasphere.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	connectortest.Run(t, message.Registered, bySubject)
}
