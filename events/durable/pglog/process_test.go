package pglog_test

import "fmt"

const childEnv = "OATMILL_PGLOG_CHILD"

func play(role string) error { return fmt.Errorf("unknown role") }
