"""MQT: a multi-query transformer that detects, tracks and re-identifies any object (thesis Ch. 2)."""
