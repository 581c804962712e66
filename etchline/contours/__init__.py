"""contours"""
