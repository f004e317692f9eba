"""The doctor: is this inverse an inverse, and which method will help?"""
